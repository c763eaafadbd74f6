# prod: all symbols of the quote asset, protected

module "platform" {
  source      = "../../modules/platform"
  environment = "prod"

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

  is_protected = true
  collector_settings = {
    BINANCE_QUOTE_ASSETS     = "USDT"
    BINANCE_CHANNELS         = "trade,aggTrade,bookTicker,kline_1m,kline_5m,kline_15m,kline_1h,kline_4h,kline_1d"
    COLLECTOR_CONTROL_TOTALS = "full"
  }
  collector_machine_type = "e2-standard-2"
  spool_gb               = 100
  job_machine_type       = "n1-standard-4"
  job_max_workers        = 8
  archive_shards         = 4
  retention_days         = 7
  archive_cold_days      = 90
  composer_size          = "MEDIUM"
  composer_max_workers   = 6
  scanned_tb_a_day       = 5
}
