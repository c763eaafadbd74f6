output "alerts" {
  description = "Names of the alerts, as docs/deploy.md lists them."
  value       = sort(concat(keys(local.alerts), keys(local.silences)))
}
