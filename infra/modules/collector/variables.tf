variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "zone" {
  description = "Zone of this replica; each replica has one of its own."
  type        = string
  validation {
    condition     = can(regex("^[a-z]+-[a-z]+\\d+-[a-z]$", var.zone))
    error_message = "zone: expected a zone as europe-west1-b, was '${var.zone}'."
  }
}

variable "collector_id" {
  description = "COLLECTOR_ID: unique among collectors that run at the same time."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,40}[a-z0-9])?$", var.collector_id))
    error_message = "collector_id: expected up to 42 lower-case letters, digits and hyphens, was '${var.collector_id}'; write collector-1."
  }
}

variable "image" {
  description = "Image of the collector by its digest, or by a tag that never moves."
  type        = string
  validation {
    condition     = can(regex("^\\S+(@sha256:[0-9a-f]{64}|:[\\w.-]+)$", var.image)) && !endswith(var.image, ":latest")
    error_message = "image: expected a digest or a tag other than latest, was '${var.image}': a restart must start the same code."
  }
}

variable "settings" {
  description = "Environment of the collector, by variable (docs/configuration.md)."
  type        = map(string)
  validation {
    condition     = alltrue([for name in keys(var.settings) : can(regex("^(BINANCE|COLLECTOR)_[A-Z_]+$", name))])
    error_message = "settings: expected names as BINANCE_SYMBOLS and COLLECTOR_LOG_LEVEL."
  }
}

variable "topic" {
  description = "Id of the topic that frames are published to."
  type        = string
}

variable "service_account" {
  description = "Address of the collector's service account."
  type        = string
}

variable "subnetwork" {
  description = "Id of the subnetwork."
  type        = string
}

variable "machine_type" {
  description = "Machine type; one core takes far more than the whole market sends."
  type        = string
}

variable "spool_gb" {
  description = "Size of the spool's disk in GB."
  type        = number
  validation {
    condition     = var.spool_gb >= 10 && var.spool_gb <= 1000
    error_message = "spool_gb: expected 10 to 1000, was ${var.spool_gb}."
  }
}
