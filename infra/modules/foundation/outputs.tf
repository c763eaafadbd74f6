output "members" {
  description = "Service accounts as members of IAM bindings, by name."
  value       = { for name, account in google_service_account.all : name => account.member }
}

output "emails" {
  description = "Addresses of the service accounts, by name."
  value       = { for name, account in google_service_account.all : name => account.email }
}

output "table_appender" {
  description = "Role that may append to tables."
  value       = google_project_iam_custom_role.table_appender.name
}

output "network" {
  description = "Id of the network."
  value       = google_compute_network.platform.id
}

output "subnetwork" {
  description = "Id of the subnetwork."
  value       = google_compute_subnetwork.platform.id
}

output "registry" {
  description = "Where images are pushed to, without a trailing slash."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.images.name}"
}

output "workload_identity_provider" {
  description = "What GitHub's google-github-actions/auth is told; null without a repository."
  value       = one(google_iam_workload_identity_pool_provider.github[*].name)
}
