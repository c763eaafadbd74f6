# `make deploy-dags` reads these (deploy/outputs.py).

output "environment" {
  description = "Name of the environment; a deployment to another one refuses these outputs."
  value       = var.environment
}

output "composer_bucket" {
  description = "Bucket that Composer made for the environment."
  value       = module.composer.bucket
}

output "composer_environment" {
  description = "Name of the Composer environment."
  value       = module.composer.name
}

output "composer_location" {
  description = "Region of the Composer environment."
  value       = var.region
}

output "market_ops" {
  description = "The Variable market_ops of the DAGs (docs/airflow.md)."
  value = {
    project        = var.project
    bucket         = module.stream.archive_bucket
    location       = var.location
    topic          = module.stream.topic
    subscription   = module.stream.subscription
    collector_urls = concat(module.first_collector[*].url, module.second_collector[*].url)
    dataflow = {
      for name, value in {
        job_name        = local.job_name
        region          = var.region
        parameters      = local.job_parameters
        template        = var.job_template
        replay_template = var.replay_template
      } : name => value if value != null
    }
    page_url = module.composer.page_url
    alerts   = { mail = sort(var.mail) }
  }
}

output "connections" {
  description = "Airflow connections without secrets, by id."
  value       = var.connections
}

# `make deploy-job` reads these as well.

output "dataflow_workers" {
  description = "What the job's workers are."
  value = {
    machine_type    = var.job_machine_type
    max_workers     = var.job_max_workers
    service_account = module.foundation.emails["stream-job"]
    subnetwork      = local.job_subnetwork
  }
}

# These are for people and for GitHub.

output "registry" {
  description = "Where images are pushed to."
  value       = module.foundation.registry
}

output "dataflow_bucket" {
  description = "Where flex templates lie."
  value       = module.stream.dataflow_bucket
}

output "workload_identity_provider" {
  description = "What GitHub's google-github-actions/auth is told."
  value       = module.foundation.workload_identity_provider
}

output "service_accounts" {
  description = "Addresses of the service accounts, by name."
  value       = module.foundation.emails
}

output "tables" {
  description = "Tables that Terraform made."
  value       = module.warehouse.tables
}

output "alerts" {
  description = "Names of the alerts (docs/runbook.md)."
  value       = module.monitoring.alerts
}
