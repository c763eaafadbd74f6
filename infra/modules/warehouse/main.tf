# What is kept: datasets, tables of the checked-in schemas, who may read and write them.

locals {
  datasets = {
    raw          = "What was received, a row a message; appended by the job"
    ops          = "Ledger of frames, holes, quality results, builds"
    staging      = "Views of raw and ops, made by dbt"
    intermediate = "De-duplicated trades, holes, made by dbt"
    marts        = "Candles, completeness, reconciliation, made by dbt"
  }
  # Terraform makes these two datasets' tables; dbt makes those of the others.
  appended = toset(["raw", "ops"])
}

resource "google_bigquery_dataset" "all" {
  for_each                   = local.datasets
  project                    = var.project
  dataset_id                 = each.key
  location                   = var.location
  description                = each.value
  delete_contents_on_destroy = !var.is_protected
  # Seven days to take a mistake back.
  max_time_travel_hours = 168
}

resource "google_bigquery_table" "all" {
  for_each                 = local.tables
  project                  = var.project
  dataset_id               = google_bigquery_dataset.all[each.value.dataset].dataset_id
  table_id                 = each.value.table
  description              = each.value.description
  schema                   = jsonencode(each.value.schema)
  clustering               = each.value.clustering
  require_partition_filter = each.value.require_partition_filter
  deletion_protection      = var.is_protected
  time_partitioning {
    type  = each.value.time_partitioning.type
    field = each.value.time_partitioning.field
  }
}

resource "google_bigquery_dataset_iam_member" "job_appends" {
  for_each   = local.appended
  project    = var.project
  dataset_id = google_bigquery_dataset.all[each.value].dataset_id
  role       = var.table_appender
  member     = var.members["stream-job"]
}

# At its start the job makes sure that every dataset is there.
resource "google_bigquery_dataset_iam_member" "job_looks" {
  for_each   = setsubtract(keys(local.datasets), local.appended)
  project    = var.project
  dataset_id = google_bigquery_dataset.all[each.value].dataset_id
  role       = "roles/bigquery.metadataViewer"
  member     = var.members["stream-job"]
}

# One account for all DAGs: dbt writes its models and ops.model_builds, repairs and quality append
# to ops, a backfill stages in ops and replaces days of raw.
resource "google_bigquery_dataset_iam_member" "market_ops" {
  for_each   = local.datasets
  project    = var.project
  dataset_id = google_bigquery_dataset.all[each.key].dataset_id
  role       = "roles/bigquery.dataEditor"
  member     = var.members["market-ops"]
}

resource "google_bigquery_dataset_iam_member" "readers" {
  for_each   = var.readers
  project    = var.project
  dataset_id = google_bigquery_dataset.all["marts"].dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value
}
