variable "project" {
  description = "Id of the Google Cloud project, which exists and has billing."
  type        = string
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "project: expected an id of 6 to 30 characters, was '${var.project}'; write my-project."
  }
}

variable "region" {
  description = "Region of registry, network and secrets."
  type        = string
}

variable "subnet_range" {
  description = "Private IPv4 range of collectors, Dataflow workers and Composer, in CIDR form."
  type        = string
  validation {
    condition     = can(cidrnetmask(var.subnet_range))
    error_message = "subnet_range: expected a range as 10.20.0.0/20, was '${var.subnet_range}'."
  }
}

variable "secrets" {
  description = "Ids of secrets whose values people add, as airflow-connections-smtp_default."
  type        = set(string)
  validation {
    condition     = alltrue([for id in var.secrets : can(regex("^[A-Za-z0-9_-]{1,255}$", id))])
    error_message = "secrets: expected ids of letters, digits, _ and -."
  }
}

variable "repository" {
  description = "GitHub repository that may deploy through workload identity; null: none."
  type        = string
  nullable    = true
  validation {
    condition     = var.repository == null || can(regex("^[\\w.-]+/[\\w.-]+$", var.repository))
    error_message = "repository: expected owner/name."
  }
}

variable "environment" {
  description = "GitHub environment that the deploying workflow must run in, as dev."
  type        = string
}

variable "state_bucket" {
  description = "Bucket of Terraform's state, which plan and deployment read."
  type        = string
}
