variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of the workers."
  type        = string
}

variable "name" {
  description = "Name of the job; watch_stream knows it by this."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.name))
    error_message = "name: expected up to 63 lower-case letters, digits and hyphens, was '${var.name}'."
  }
}

variable "template" {
  description = "Address of the flex template of beam_jobs.stream_trades."
  type        = string
  validation {
    condition     = can(regex("^gs://\\S+\\.json$", var.template))
    error_message = "template: expected gs://BUCKET/NAME.json, was '${var.template}'."
  }
}

variable "parameters" {
  description = "Options of the pipeline by name, without dashes (docs/configuration.md)."
  type        = map(string)
}

variable "machine_type" {
  description = "Machine type of the workers."
  type        = string
}

variable "max_workers" {
  description = "Most workers that autoscaling may start."
  type        = number
  validation {
    condition     = var.max_workers >= 1 && var.max_workers <= 100
    error_message = "max_workers: expected 1 to 100, was ${var.max_workers}."
  }
}

variable "service_account" {
  description = "Address of the workers' service account."
  type        = string
}

variable "subnetwork" {
  description = "Subnetwork within the project, as regions/REGION/subnetworks/NAME."
  type        = string
}

variable "bucket" {
  description = "Name of Dataflow's bucket."
  type        = string
}
