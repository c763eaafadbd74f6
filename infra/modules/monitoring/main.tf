# What is told to people, and what they see. docs/runbook.md has an entry for every alert.

locals {
  collector = "logName=\"projects/${var.project}/logs/cos_containers\""

  # Texts are the collector's own; a test holds them to its code.
  log_metrics = {
    spool_full = {
      description = "Messages are dropped: the spool is full or its disk is behind"
      filter      = "${local.collector} AND jsonPayload.message:\"messages are dropped from here on\""
    }
    spool_unwritable = {
      description = "Frames stay in memory: the spool can't be written"
      filter      = "${local.collector} AND jsonPayload.message:\"frames stay in memory until the spool can be written\""
    }
    holes_left = {
      description = "Holes that the collector leaves to repair_gaps"
      filter      = "${local.collector} AND jsonPayload.message:\"are left to repair_gaps\""
    }
    collector_errors = {
      description = "Errors in the collectors' logs"
      filter      = "${local.collector} AND jsonPayload.message:\"\\\"severity\\\": \\\"ERROR\\\"\""
    }
    job_errors = {
      description = "Errors in the job's logs"
      filter      = "resource.type=\"dataflow_step\" AND resource.labels.job_name=\"${var.job_name}\" AND severity>=ERROR"
    }
    stream_faults = {
      description = "Failed tasks of watch_stream: the stage at fault"
      filter      = "resource.type=\"cloud_composer_environment\" AND labels.workflow=\"watch_stream\" AND severity>=ERROR"
    }
    holes_open = {
      description = "Trades that are missing and not explained, as watch_stream sees them"
      filter      = "resource.type=\"cloud_composer_environment\" AND labels.workflow=\"watch_stream\" AND labels.\"task-id\"=\"holes\" AND severity>=ERROR"
    }
  }

  job          = "resource.type=\"dataflow_job\" AND resource.labels.job_name=\"${var.job_name}\""
  subscription = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${var.subscription}\""
  dead         = "resource.type=\"pubsub_subscription\" AND resource.labels.subscription_id=\"${var.dead_subscription}\""
  topic        = "resource.type=\"pubsub_topic\" AND resource.labels.topic_id=\"${var.topic}\""

  # unit: of the limit; seconds: of alignment; for: how long the limit must be broken.
  alerts = {
    freshness = {
      title    = "Rows come late", severity = "ERROR", unit = "s", limit = 180, seconds = 60, for = 300
      filter   = "${local.job} AND metric.type=\"dataflow.googleapis.com/job/data_watermark_age\""
      aligner  = "ALIGN_MAX"
      incident = "job_behind"
    }
    backlog = {
      title    = "Frames wait in Pub/Sub", severity = "ERROR", unit = "s", limit = 300, seconds = 60, for = 300
      filter   = "${local.subscription} AND metric.type=\"pubsub.googleapis.com/subscription/oldest_unacked_message_age\""
      aligner  = "ALIGN_MAX"
      incident = "job_behind"
    }
    dead_letters = {
      title    = "Frames lie in the dead letters", severity = "ERROR", unit = "frames", limit = 0, seconds = 300, for = 0
      filter   = "${local.dead} AND metric.type=\"pubsub.googleapis.com/subscription/num_undelivered_messages\""
      aligner  = "ALIGN_MAX"
      incident = "frames_missing"
    }
    spool_full = {
      title    = "A collector drops messages: its spool of ${var.spool_gb} GB is full or its disk is behind", severity = "CRITICAL", unit = "lines", limit = 0, seconds = 300, for = 0
      filter   = "metric.type=\"logging.googleapis.com/user/spool_full\""
      aligner  = "ALIGN_SUM"
      incident = "broker_behind"
    }
    spool_unwritable = {
      title    = "A collector can't write its spool", severity = "CRITICAL", unit = "lines", limit = 0, seconds = 300, for = 0
      filter   = "metric.type=\"logging.googleapis.com/user/spool_unwritable\""
      aligner  = "ALIGN_SUM"
      incident = "collector_failing"
    }
    holes_left = {
      title    = "Holes are left to repair_gaps", severity = "WARNING", unit = "holes", limit = 0, seconds = 300, for = 0
      filter   = "metric.type=\"logging.googleapis.com/user/holes_left\""
      aligner  = "ALIGN_SUM"
      incident = "ids_missing"
    }
    holes_open = {
      title    = "Trades are missing and not explained", severity = "ERROR", unit = "lines", limit = 0, seconds = 300, for = 1800
      filter   = "metric.type=\"logging.googleapis.com/user/holes_open\""
      aligner  = "ALIGN_SUM"
      incident = "ids_missing"
    }
    stream_faults = {
      title    = "watch_stream sees a stage at fault", severity = "ERROR", unit = "lines", limit = 0, seconds = 300, for = 600
      filter   = "metric.type=\"logging.googleapis.com/user/stream_faults\""
      aligner  = "ALIGN_SUM"
      incident = "incidents"
    }
    collector_errors = {
      title    = "The collectors log errors", severity = "WARNING", unit = "lines", limit = 10, seconds = 300, for = 0
      filter   = "metric.type=\"logging.googleapis.com/user/collector_errors\""
      aligner  = "ALIGN_SUM"
      incident = "collector_disconnected"
    }
    job_errors = {
      title    = "The job logs errors", severity = "WARNING", unit = "lines", limit = 10, seconds = 300, for = 0
      filter   = "metric.type=\"logging.googleapis.com/user/job_errors\""
      aligner  = "ALIGN_SUM"
      incident = "job_behind"
    }
    cost = {
      title    = "Queries bill more than ${var.scanned_tb_a_day} TB in a day", severity = "WARNING", unit = "bytes", limit = var.scanned_tb_a_day * 1000000000000, seconds = 86400, for = 0
      filter   = "resource.type=\"global\" AND metric.type=\"bigquery.googleapis.com/query/statement_scanned_bytes_billed\""
      aligner  = "ALIGN_SUM"
      incident = "incidents"
    }
  }

  # Google says nothing of what has no points, so silence is asked for by itself.
  silences = {
    silence = {
      title    = "No frame was published", severity = "CRITICAL", seconds = 300
      filter   = "${local.topic} AND metric.type=\"pubsub.googleapis.com/topic/send_request_count\""
      incident = "collector_away"
    }
    job_gone = {
      title    = "The job says nothing of itself", severity = "CRITICAL", seconds = 600
      filter   = "${local.job} AND metric.type=\"dataflow.googleapis.com/job/system_lag\""
      incident = "job_down"
    }
  }

  tiles = merge(
    { for name, alert in local.alerts : name => { title = alert.title, filter = alert.filter, aligner = alert.aligner, seconds = alert.seconds } },
    { for name, alert in local.silences : name => { title = alert.title, filter = alert.filter, aligner = name == "silence" ? "ALIGN_RATE" : "ALIGN_MAX", seconds = 60 } },
  )
}

resource "google_logging_metric" "all" {
  for_each    = local.log_metrics
  project     = var.project
  name        = each.key
  description = each.value.description
  filter      = each.value.filter
  metric_descriptor {
    metric_kind = "DELTA"
    value_type  = "INT64"
    unit        = "1"
  }
}

resource "google_monitoring_notification_channel" "mail" {
  for_each     = var.mail
  project      = var.project
  display_name = each.value
  type         = "email"
  labels       = { email_address = each.value }
}

resource "google_monitoring_alert_policy" "limits" {
  for_each     = local.alerts
  project      = var.project
  display_name = "${var.environment}: ${each.value.title}"
  severity     = each.value.severity
  combiner     = "OR"
  conditions {
    display_name = "above ${each.value.limit} ${each.value.unit} for ${each.value.for} s"
    condition_threshold {
      filter          = each.value.filter
      comparison      = "COMPARISON_GT"
      threshold_value = each.value.limit
      duration        = "${each.value.for}s"
      aggregations {
        alignment_period     = "${each.value.seconds}s"
        per_series_aligner   = each.value.aligner
        cross_series_reducer = each.value.aligner == "ALIGN_MAX" ? "REDUCE_MAX" : "REDUCE_SUM"
      }
    }
  }
  documentation {
    content = "What to do: [docs/runbook.md, ${each.key}](${var.documents}/runbook.md#${each.key}); the incident: [docs/monitoring.md, ${each.value.incident}](${var.documents}/monitoring.md#${each.value.incident})"
  }
  notification_channels = [for channel in google_monitoring_notification_channel.mail : channel.id]
  # A log-based metric must exist before a policy asks for it.
  depends_on = [google_logging_metric.all]
}

resource "google_monitoring_alert_policy" "silences" {
  for_each     = local.silences
  project      = var.project
  display_name = "${var.environment}: ${each.value.title}"
  severity     = each.value.severity
  combiner     = "OR"
  conditions {
    display_name = "nothing for ${each.value.seconds} s"
    condition_absent {
      filter   = each.value.filter
      duration = "${each.value.seconds}s"
      aggregations {
        alignment_period     = "60s"
        per_series_aligner   = each.key == "silence" ? "ALIGN_RATE" : "ALIGN_MAX"
        cross_series_reducer = "REDUCE_SUM"
      }
    }
  }
  documentation {
    content = "What to do: [docs/runbook.md, ${each.key}](${var.documents}/runbook.md#${each.key}); the incident: [docs/monitoring.md, ${each.value.incident}](${var.documents}/monitoring.md#${each.value.incident})"
  }
  notification_channels = [for channel in google_monitoring_notification_channel.mail : channel.id]
}

resource "google_monitoring_dashboard" "stream" {
  project = var.project
  dashboard_json = jsonencode({
    displayName = "${var.environment}: from the exchange to the tables"
    gridLayout = {
      columns = 3
      widgets = [
        for name, tile in local.tiles : {
          title = tile.title
          xyChart = {
            dataSets = [{
              plotType = "LINE"
              timeSeriesQuery = {
                timeSeriesFilter = {
                  filter      = tile.filter
                  aggregation = { alignmentPeriod = "${tile.seconds}s", perSeriesAligner = tile.aligner }
                }
              }
            }]
          }
        }
      ]
    }
  })
  depends_on = [google_logging_metric.all]
}

resource "google_billing_budget" "month" {
  count           = var.billing_account == null ? 0 : 1
  billing_account = var.billing_account
  display_name    = "${var.environment}: market data"
  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }
  amount {
    specified_amount {
      units = tostring(var.budget)
    }
  }
  dynamic "threshold_rules" {
    for_each = [0.5, 0.9, 1.0]
    content {
      threshold_percent = threshold_rules.value
    }
  }
  threshold_rules {
    threshold_percent = 1.0
    spend_basis       = "FORECASTED_SPEND"
  }
  all_updates_rule {
    monitoring_notification_channels = [for channel in google_monitoring_notification_channel.mail : channel.id]
    disable_default_iam_recipients   = false
  }
}

data "google_project" "this" {
  project_id = var.project
}
