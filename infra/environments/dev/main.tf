# dev: a few symbols, small machines, nothing that can't be destroyed

module "platform" {
  source      = "../../modules/platform"
  environment = "dev"

  project           = var.project
  region            = var.region
  zones             = var.zones
  location          = var.location
  archive_bucket    = "${var.project}-archive"
  state_bucket      = var.state_bucket
  collector_image   = var.collector_image
  job_template      = var.job_template
  is_job_terraforms = var.is_job_terraforms
  replay_template   = var.replay_template
  readers           = var.readers
  mail              = var.mail
  web_ranges        = var.web_ranges
  connections       = var.connections
  secrets           = var.secrets
  repository        = var.repository
  billing_account   = var.billing_account
  budget            = var.budget

  is_protected = false
  collector_settings = {
    BINANCE_SYMBOLS = "BTCUSDT,ETHUSDT,SOLUSDT"
  }
  collector_machine_type = "e2-small"
  spool_gb               = 20
  job_machine_type       = "n1-standard-2"
  job_max_workers        = 2
  archive_shards         = 1
  retention_days         = 1
  archive_cold_days      = 30
  composer_size          = "SMALL"
  composer_max_workers   = 2
  scanned_tb_a_day       = 1
}
