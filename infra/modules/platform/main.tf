# The platform: each module changes for a reason of its own, this file says how they meet.

locals {
  job_name = "stream-trades"
  # Within the project, as Dataflow takes it.
  job_subnetwork = regex("regions/.*", module.foundation.subnetwork)
  # What the job is started with, by Terraform and by watch_stream alike.
  job_parameters = {
    subscription     = module.stream.subscription_path
    archive          = "gs://${module.stream.archive_bucket}"
    archive_shards   = tostring(var.archive_shards)
    dataset_location = var.location
  }
}

module "foundation" {
  source       = "../foundation"
  project      = var.project
  region       = var.region
  environment  = var.environment
  subnet_range = "10.20.0.0/20"
  secrets      = var.secrets
  repository   = var.repository
  state_bucket = var.state_bucket
}

module "stream" {
  source            = "../stream"
  project           = var.project
  location          = var.location
  topic             = "binance-frames"
  retention_days    = var.retention_days
  archive_bucket    = var.archive_bucket
  archive_cold_days = var.archive_cold_days
  is_protected      = var.is_protected
  members           = module.foundation.members
}

module "warehouse" {
  source         = "../warehouse"
  project        = var.project
  location       = var.location
  is_protected   = var.is_protected
  table_appender = module.foundation.table_appender
  members        = module.foundation.members
  readers        = var.readers
}

module "first_collector" {
  source          = "../collector"
  count           = var.collector_image == null ? 0 : 1
  project         = var.project
  zone            = var.zones[0]
  collector_id    = "collector-1"
  image           = var.collector_image
  settings        = var.collector_settings
  topic           = module.stream.topic
  service_account = module.foundation.emails["collector"]
  subnetwork      = module.foundation.subnetwork
  machine_type    = var.collector_machine_type
  spool_gb        = var.spool_gb
}

# After the first one: while one is replaced, the other one hears everything.
module "second_collector" {
  source          = "../collector"
  count           = var.collector_image == null ? 0 : 1
  project         = var.project
  zone            = var.zones[1]
  collector_id    = "collector-2"
  image           = var.collector_image
  settings        = var.collector_settings
  topic           = module.stream.topic
  service_account = module.foundation.emails["collector"]
  subnetwork      = module.foundation.subnetwork
  machine_type    = var.collector_machine_type
  spool_gb        = var.spool_gb
  depends_on      = [module.first_collector]
}

module "job" {
  source          = "../job"
  count           = var.is_job_terraforms && var.job_template != null ? 1 : 0
  project         = var.project
  region          = var.region
  name            = local.job_name
  template        = var.job_template
  parameters      = local.job_parameters
  machine_type    = var.job_machine_type
  max_workers     = var.job_max_workers
  service_account = module.foundation.emails["stream-job"]
  subnetwork      = local.job_subnetwork
  bucket          = module.stream.dataflow_bucket
  depends_on      = [module.warehouse]
}

module "composer" {
  source          = "../composer"
  project         = var.project
  region          = var.region
  name            = "market-ops-${var.environment}"
  image_version   = "composer-3-airflow-3.3.1"
  size            = var.composer_size
  max_workers     = var.composer_max_workers
  service_account = module.foundation.emails["market-ops"]
  network         = module.foundation.network
  subnetwork      = module.foundation.subnetwork
  deployer        = module.foundation.members["deployer"]
  web_ranges      = var.web_ranges
  depends_on      = [module.foundation]
}

module "monitoring" {
  source            = "../monitoring"
  project           = var.project
  environment       = var.environment
  documents         = var.repository == null ? "docs" : "https://github.com/${var.repository}/blob/main/docs"
  topic             = module.stream.topic
  subscription      = module.stream.subscription
  dead_subscription = module.stream.dead_subscription
  job_name          = local.job_name
  spool_gb          = var.spool_gb
  mail              = var.mail
  scanned_tb_a_day  = var.scanned_tb_a_day
  billing_account   = var.billing_account
  budget            = var.budget
}
