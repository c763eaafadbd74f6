output "topic" {
  description = "Id of the topic of frames."
  value       = google_pubsub_topic.frames.name
}

output "subscription" {
  description = "Id of the job's subscription."
  value       = google_pubsub_subscription.job.name
}

output "subscription_path" {
  description = "The same as projects/PROJECT/subscriptions/NAME."
  value       = google_pubsub_subscription.job.id
}

output "dead_subscription" {
  description = "Id of the subscription of dead letters."
  value       = google_pubsub_subscription.dead.name
}

output "archive_bucket" {
  description = "Name of the archive's bucket."
  value       = google_storage_bucket.archive.name
}

output "dataflow_bucket" {
  description = "Name of Dataflow's bucket."
  value       = google_storage_bucket.dataflow.name
}
