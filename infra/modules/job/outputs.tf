output "name" {
  description = "Name of the job."
  value       = google_dataflow_flex_template_job.stream.name
}
