output "alerts" {
  description = "Names of the alerts, as docs/runbook.md has them."
  value       = sort(concat(keys(local.alerts), keys(local.silences)))
}
