# What people choose; what differs between environments by design is in main.tf. Both
# environments have this file.

variable "project" {
  description = "Id of this environment's Google Cloud project, which exists and has billing."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: expected an id of 6 to 30 characters, was '${var.project}'; write my-project."
  }
}

variable "state_bucket" {
  description = "Bucket of Terraform's state, the one that init was given."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.state_bucket))
    error_message = "state_bucket: expected a bucket's name without gs://, was '${var.state_bucket}'; write my-project-state."
  }
}

variable "region" {
  description = "Region of everything that runs."
  type        = string
  default     = "europe-west1"
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+\\d+$", var.region))
    error_message = "region: expected a region as europe-west1, was '${var.region}'."
  }
}

variable "zones" {
  description = "Two zones of the region, one a collector."
  type        = list(string)
  default     = ["europe-west1-b", "europe-west1-c"]
  validation {
    condition     = length(distinct(var.zones)) == 2 && length(var.zones) == 2 && alltrue([for zone in var.zones : startswith(zone, "${var.region}-")])
    error_message = "zones: expected two different zones of ${var.region}, was ${jsonencode(var.zones)}."
  }
}

variable "location" {
  description = "Location of datasets and buckets: EU, US or the region; can't be changed afterwards."
  type        = string
  default     = "EU"
  validation {
    condition     = contains(["EU", "US", var.region], var.location)
    error_message = "location: expected EU, US or ${var.region}, was '${var.location}'."
  }
}

variable "mail" {
  description = "Addresses that alerts go to."
  type        = set(string)
  validation {
    condition     = length(var.mail) > 0 && alltrue([for address in var.mail : can(regex("^\\S+@\\S+\\.\\S+$", address))])
    error_message = "mail: expected at least one address as data@example.com: an alert that nobody reads is none."
  }
}

variable "web_ranges" {
  description = "Address ranges that reach Airflow's pages, by name."
  type        = map(string)
  validation {
    condition     = length(var.web_ranges) > 0 && alltrue([for range in values(var.web_ranges) : can(cidrhost(range, 0))])
    error_message = "web_ranges: expected at least one range by name, as { office = \"203.0.113.0/24\" }."
  }
}

variable "collector_image" {
  description = "Image of the collector by digest or by a tag that never moves; null until the first one is pushed: no collector."
  type        = string
  default     = null
  nullable    = true
  validation {
    condition     = var.collector_image == null || can(regex("^\\S+(@sha256:[0-9a-f]{64}|:[\\w.-]+)$", var.collector_image)) && !endswith(coalesce(var.collector_image, "none"), ":latest")
    error_message = "collector_image: expected an image with a digest, or with a tag that names it for ever as 1.2.3."
  }
}

variable "job_template" {
  description = "Address of the stream's flex template; null until it is there: no job."
  type        = string
  default     = null
  nullable    = true
  validation {
    condition     = var.job_template == null || can(regex("^gs://\\S+\\.json$", var.job_template))
    error_message = "job_template: expected gs://BUCKET/NAME.json."
  }
}

variable "is_job_terraforms" {
  description = "Whether Terraform runs the job; false: `make deploy-job` does."
  type        = bool
  default     = false
  validation {
    condition     = !var.is_job_terraforms || var.job_template != null
    error_message = "is_job_terraforms: expected false while job_template is null."
  }
}

variable "replay_template" {
  description = "Address of the flex template of the replay; null until it is there."
  type        = string
  default     = null
  nullable    = true
  validation {
    condition     = var.replay_template == null || can(regex("^gs://\\S+\\.json$", var.replay_template))
    error_message = "replay_template: expected gs://BUCKET/NAME.json."
  }
}

variable "readers" {
  description = "Who may read the marts, as group:analysts@example.com."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|domain):\\S+$", member))])
    error_message = "readers: expected members as group:analysts@example.com."
  }
}

variable "connections" {
  description = "Airflow connections without secrets, by id."
  type        = map(map(string))
  default     = {}
  validation {
    condition     = alltrue([for connection in values(var.connections) : contains(keys(connection), "conn_type") && !contains(keys(connection), "password")])
    error_message = "connections: expected a conn_type and no password; what has a secret belongs into Secret Manager as airflow-connections-ID."
  }
}

variable "secrets" {
  description = "Ids of secrets whose values people add, as airflow-connections-smtp_default."
  type        = set(string)
  default     = []
  validation {
    condition     = alltrue([for id in var.secrets : can(regex("^[A-Za-z0-9_-]{1,255}$", id))])
    error_message = "secrets: expected ids of letters, digits, _ and -."
  }
}

variable "repository" {
  description = "GitHub repository that may plan and deploy, as owner/name; null: none."
  type        = string
  default     = null
  nullable    = true
  validation {
    condition     = var.repository == null || can(regex("^[\\w.-]+/[\\w.-]+$", var.repository))
    error_message = "repository: expected owner/name."
  }
}

variable "billing_account" {
  description = "Billing account of the budget, as 012345-6789AB-CDEF01; null: no budget."
  type        = string
  default     = null
  nullable    = true
  validation {
    condition     = var.billing_account == null || can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.billing_account))
    error_message = "billing_account: expected an id as 012345-6789AB-CDEF01."
  }
}

variable "budget" {
  description = "Budget of a month, in whole units of the billing account's currency."
  type        = number
  validation {
    condition     = var.budget > 0 && floor(var.budget) == var.budget
    error_message = "budget: expected a whole number above 0, was ${var.budget}."
  }
}
