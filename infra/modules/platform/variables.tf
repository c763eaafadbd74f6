variable "environment" {
  description = "Name of the environment: dev or prod."
  type        = string
  validation {
    condition     = contains(["dev", "prod"], var.environment)
    error_message = "environment: expected dev or prod, was '${var.environment}'."
  }
}

variable "project" {
  description = "Id of the Google Cloud project, which exists and has billing; each environment has its own."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: expected an id of 6 to 30 characters, was '${var.project}'; write my-project."
  }
}

variable "region" {
  description = "Region of everything that runs."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+\\d+$", var.region))
    error_message = "region: expected a region as europe-west1, was '${var.region}'."
  }
}

variable "zones" {
  description = "Two zones of the region, one a collector."
  type        = list(string)
  validation {
    condition     = length(distinct(var.zones)) == 2 && length(var.zones) == 2 && alltrue([for zone in var.zones : startswith(zone, "${var.region}-")])
    error_message = "zones: expected two different zones of ${var.region}, was ${jsonencode(var.zones)}."
  }
}

variable "location" {
  description = "Location of datasets and buckets: a multi-region as EU, or the region; can't be changed afterwards."
  type        = string
  validation {
    condition     = contains(["EU", "US", var.region], var.location)
    error_message = "location: expected EU, US or ${var.region}, was '${var.location}': data far from its readers is slow and billed as traffic."
  }
}

variable "archive_bucket" {
  description = "Name of the archive's bucket, unique in all of Google Cloud."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,52}[a-z0-9]$", var.archive_bucket))
    error_message = "archive_bucket: expected 3 to 54 lower-case letters, digits and '-', was '${var.archive_bucket}'; write my-project-archive."
  }
}

variable "state_bucket" {
  description = "Bucket of Terraform's state, the same as in backend.tf."
  type        = string
}

variable "is_protected" {
  description = "Whether what holds data can't be destroyed; prod: true."
  type        = bool
  validation {
    condition     = var.is_protected || var.environment != "prod"
    error_message = "is_protected: must be true in prod."
  }
}

variable "collector_image" {
  description = "Image of the collector; null until the first one is pushed: no collector."
  type        = string
  nullable    = true
}

variable "job_template" {
  description = "Address of the stream's flex template; null until it is there: watch_stream starts no job."
  type        = string
  nullable    = true
}

variable "is_job_terraforms" {
  description = "Whether Terraform runs the job; false: `make deploy-job` does, and Terraform names its template only."
  type        = bool
}

variable "replay_template" {
  description = "Address of the flex template of beam_jobs.replay_archive; null until it is there: DAG replay_archive says so."
  type        = string
  nullable    = true
}

variable "collector_settings" {
  description = "Environment of the collectors, by variable (docs/configuration.md)."
  type        = map(string)
}

variable "collector_machine_type" {
  description = "Machine type of a collector."
  type        = string
}

variable "spool_gb" {
  description = "Size of a collector's spool in GB."
  type        = number
}

variable "job_machine_type" {
  description = "Machine type of Dataflow's workers."
  type        = string
}

variable "job_max_workers" {
  description = "Most workers that Dataflow may start."
  type        = number
}

variable "archive_shards" {
  description = "Archive objects written at once for one folder."
  type        = number
  validation {
    condition     = var.archive_shards >= 1 && var.archive_shards <= 1000
    error_message = "archive_shards: expected 1 to 1000, was ${var.archive_shards}."
  }
}

variable "retention_days" {
  description = "How many days Pub/Sub keeps frames; 1 to 7."
  type        = number
}

variable "archive_cold_days" {
  description = "After so many days raw objects move to the class COLDLINE."
  type        = number
}

variable "composer_size" {
  description = "Size of the Composer environment: SMALL, MEDIUM or LARGE."
  type        = string
}

variable "composer_max_workers" {
  description = "Most Airflow workers."
  type        = number
}

variable "web_ranges" {
  description = "Address ranges that reach Airflow's pages, by name."
  type        = map(string)
}

variable "readers" {
  description = "Who may read the marts, as group:analysts@example.com."
  type        = set(string)
}

variable "mail" {
  description = "Addresses that alerts go to."
  type        = set(string)
}

variable "connections" {
  description = "Airflow connections without secrets, by id."
  type        = map(map(string))
}

variable "secrets" {
  description = "Ids of secrets whose values people add, as airflow-connections-smtp_default."
  type        = set(string)
}

variable "repository" {
  description = "GitHub repository that may deploy, as owner/name; null: none."
  type        = string
  nullable    = true
}

variable "billing_account" {
  description = "Billing account of the budget; null: no budget."
  type        = string
  nullable    = true
}

variable "budget" {
  description = "Budget of a month, in whole units of the billing account's currency."
  type        = number
}

variable "scanned_tb_a_day" {
  description = "Terabytes that queries may bill in a day before somebody is told."
  type        = number
}
