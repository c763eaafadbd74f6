# The streaming job. Changed options update it in place; taken away, it is drained.

resource "google_dataflow_flex_template_job" "stream" {
  provider                     = google-beta
  project                      = var.project
  region                       = var.region
  name                         = var.name
  container_spec_gcs_path      = var.template
  parameters                   = var.parameters
  enable_streaming_engine      = true
  autoscaling_algorithm        = "THROUGHPUT_BASED"
  num_workers                  = 1
  max_workers                  = var.max_workers
  machine_type                 = var.machine_type
  service_account_email        = var.service_account
  subnetwork                   = var.subnetwork
  ip_configuration             = "WORKER_IP_PRIVATE"
  staging_location             = "gs://${var.bucket}/staging"
  temp_location                = "gs://${var.bucket}/temp"
  on_delete                    = "drain"
  skip_wait_on_job_termination = false
}
