output "bucket" {
  description = "Bucket that Composer made for the environment."
  value       = local.bucket
}

output "name" {
  description = "Name of the environment."
  value       = google_composer_environment.this.name
}

output "page_url" {
  description = "How people reach Airflow."
  value       = google_composer_environment.this.config[0].airflow_uri
}
