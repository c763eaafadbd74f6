# What flows and what keeps it: topic, subscriptions, dead letters, buckets.

locals {
  retention = "${var.retention_days * 86400}s"
  # Pub/Sub itself moves a frame to the dead letters.
  pubsub = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
}

data "google_project" "this" {
  project_id = var.project
}

resource "google_pubsub_topic" "frames" {
  project                    = var.project
  name                       = var.topic
  message_retention_duration = local.retention
}

resource "google_pubsub_topic" "dead" {
  project                    = var.project
  name                       = "${var.topic}-dead"
  message_retention_duration = local.retention
}

resource "google_pubsub_subscription" "job" {
  project = var.project
  name    = "${var.topic}-job"
  topic   = google_pubsub_topic.frames.id
  # A restart seeks back, and snapshots reach as far as acknowledged messages are kept.
  retain_acked_messages      = true
  message_retention_duration = local.retention
  # Dataflow extends it while a bundle is worked on; the longest makes fewest repetitions.
  ack_deadline_seconds = 600
  expiration_policy {
    ttl = ""
  }
  retry_policy {
    minimum_backoff = "1s"
    maximum_backoff = "60s"
  }
  dead_letter_policy {
    dead_letter_topic = google_pubsub_topic.dead.id
    # The most there is: a frame that can't be read becomes a rejection and is acknowledged, so
    # only a job that dies of it, or is away for long, gets here.
    max_delivery_attempts = 100
  }
  depends_on = [google_pubsub_topic_iam_member.dead]
}

# Without a subscription a dead letter would be gone.
resource "google_pubsub_subscription" "dead" {
  project                    = var.project
  name                       = "${var.topic}-dead"
  topic                      = google_pubsub_topic.dead.id
  message_retention_duration = local.retention
  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "dead" {
  project = var.project
  topic   = google_pubsub_topic.dead.id
  role    = "roles/pubsub.publisher"
  member  = local.pubsub
}

resource "google_pubsub_subscription_iam_member" "dead" {
  project      = var.project
  subscription = google_pubsub_subscription.job.id
  role         = "roles/pubsub.subscriber"
  member       = local.pubsub
}

# collectors publish what they hear, repair_gaps what was missing
resource "google_pubsub_topic_iam_member" "publishers" {
  for_each = toset(["collector", "market-ops"])
  project  = var.project
  topic    = google_pubsub_topic.frames.id
  role     = "roles/pubsub.publisher"
  member   = var.members[each.value]
}

resource "google_pubsub_subscription_iam_member" "job" {
  for_each     = toset(["roles/pubsub.subscriber", "roles/pubsub.viewer"])
  project      = var.project
  subscription = google_pubsub_subscription.job.id
  role         = each.value
  member       = var.members["stream-job"]
}

# watch_stream looks at the backlog.
resource "google_pubsub_subscription_iam_member" "watch" {
  project      = var.project
  subscription = google_pubsub_subscription.job.id
  role         = "roles/pubsub.viewer"
  member       = var.members["market-ops"]
}

# A deployment keeps a snapshot and goes back to it, which needs the right to read.
resource "google_pubsub_subscription_iam_member" "deployer" {
  project      = var.project
  subscription = google_pubsub_subscription.job.id
  role         = "roles/pubsub.subscriber"
  member       = var.members["deployer"]
}

# --- buckets

resource "google_storage_bucket" "archive" {
  project                     = var.project
  name                        = var.archive_bucket
  location                    = var.location
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.is_protected
  # Objects are named by their content: a second version means a mistake that can be taken back.
  versioning {
    enabled = true
  }
  soft_delete_policy {
    retention_duration_seconds = 604800
  }
  lifecycle_rule {
    action {
      type          = "SetStorageClass"
      storage_class = "COLDLINE"
    }
    condition {
      age            = var.archive_cold_days
      matches_prefix = ["raw/"]
      matches_suffix = [".zst"]
    }
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }
  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 1
    }
  }
}

# Dataflow's own: staged files, temporary files, templates.
resource "google_storage_bucket" "dataflow" {
  project                     = var.project
  name                        = "${var.archive_bucket}-dataflow"
  location                    = var.location
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = !var.is_protected
  versioning {
    enabled = true
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = 14
      matches_prefix = ["temp/"]
    }
  }
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }
}

locals {
  grants = {
    "archive stream-job"        = { bucket = google_storage_bucket.archive.name, role = "roles/storage.objectUser", account = "stream-job" }
    "archive market-ops"        = { bucket = google_storage_bucket.archive.name, role = "roles/storage.objectUser", account = "market-ops" }
    "archive market-ops bucket" = { bucket = google_storage_bucket.archive.name, role = "roles/storage.bucketViewer", account = "market-ops" }
    "dataflow stream-job"       = { bucket = google_storage_bucket.dataflow.name, role = "roles/storage.objectUser", account = "stream-job" }
    "dataflow market-ops"       = { bucket = google_storage_bucket.dataflow.name, role = "roles/storage.objectViewer", account = "market-ops" }
    "dataflow deployer"         = { bucket = google_storage_bucket.dataflow.name, role = "roles/storage.objectUser", account = "deployer" }
  }
}

resource "google_storage_bucket_iam_member" "all" {
  for_each = local.grants
  bucket   = each.value.bucket
  role     = each.value.role
  member   = var.members[each.value.account]
}
