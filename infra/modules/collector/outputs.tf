output "url" {
  description = "Base address of /healthz and /metrics, inside the network."
  value       = "http://${google_compute_address.this.address}:${local.port}"
}
