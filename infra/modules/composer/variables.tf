variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Region of the environment."
  type        = string
}

variable "name" {
  description = "Name of the environment."
  type        = string
  validation {
    condition     = can(regex("^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$", var.name))
    error_message = "name: expected up to 63 lower-case letters, digits and hyphens, was '${var.name}'."
  }
}

variable "image_version" {
  description = "Composer's image; DAGs and packages are tested with Airflow 3.3.1."
  type        = string
  validation {
    condition     = startswith(var.image_version, "composer-3-airflow-3.3.1")
    error_message = "image_version: expected composer-3-airflow-3.3.1 with or without a build, was '${var.image_version}'; docs/composer.md says what to compare before an upgrade."
  }
}

variable "size" {
  description = "Size of the environment: SMALL, MEDIUM or LARGE."
  type        = string
  validation {
    condition     = contains(["SMALL", "MEDIUM", "LARGE"], var.size)
    error_message = "size: expected SMALL, MEDIUM or LARGE, was '${var.size}'."
  }
}

variable "max_workers" {
  description = "Most Airflow workers."
  type        = number
  validation {
    condition     = var.max_workers >= 1 && var.max_workers <= 20
    error_message = "max_workers: expected 1 to 20, was ${var.max_workers}."
  }
}

variable "service_account" {
  description = "Address of the environment's service account."
  type        = string
}

variable "network" {
  description = "Id of the network, through which DAGs reach the collectors."
  type        = string
}

variable "subnetwork" {
  description = "Id of the subnetwork."
  type        = string
}

variable "deployer" {
  description = "Member that uploads DAGs."
  type        = string
}

variable "web_ranges" {
  description = "Address ranges that reach Airflow's pages, by name; people log in as well."
  type        = map(string)
  validation {
    condition     = length(var.web_ranges) > 0 && alltrue([for range in values(var.web_ranges) : can(cidrhost(range, 0))])
    error_message = "web_ranges: expected at least one range by name, as { office = \"203.0.113.0/24\" }."
  }
}
