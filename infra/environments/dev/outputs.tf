# What the module says, said on: `terraform output -json` is what deployments read.

output "environment" {
  description = "Name of the environment; a deployment to another one refuses these outputs."
  value       = module.platform.environment
}

output "composer_bucket" {
  description = "Bucket that Composer made for the environment."
  value       = module.platform.composer_bucket
}

output "composer_environment" {
  description = "Name of the Composer environment."
  value       = module.platform.composer_environment
}

output "composer_location" {
  description = "Region of the Composer environment."
  value       = module.platform.composer_location
}

output "market_ops" {
  description = "The Variable market_ops of the DAGs (docs/airflow.md)."
  value       = module.platform.market_ops
}

output "connections" {
  description = "Airflow connections without secrets, by id."
  value       = module.platform.connections
}

output "dataflow_workers" {
  description = "What the job's workers are."
  value       = module.platform.dataflow_workers
}

output "registry" {
  description = "Where images are pushed to."
  value       = module.platform.registry
}

output "dataflow_bucket" {
  description = "Where flex templates lie."
  value       = module.platform.dataflow_bucket
}

output "workload_identity_provider" {
  description = "What GitHub's google-github-actions/auth is told."
  value       = module.platform.workload_identity_provider
}

output "service_accounts" {
  description = "Addresses of the service accounts, by name."
  value       = module.platform.service_accounts
}

output "tables" {
  description = "Tables that Terraform made."
  value       = module.platform.tables
}

output "alerts" {
  description = "Names of the alerts (docs/runbook.md)."
  value       = module.platform.alerts
}
