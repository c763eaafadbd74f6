variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "environment" {
  description = "Name of the environment, for titles."
  type        = string
}

variable "documents" {
  description = "Where alerts find the documents: an address without a trailing slash."
  type        = string
}

variable "topic" {
  description = "Id of the topic of frames."
  type        = string
}

variable "subscription" {
  description = "Id of the job's subscription."
  type        = string
}

variable "dead_subscription" {
  description = "Id of the subscription of dead letters."
  type        = string
}

variable "job_name" {
  description = "Name of the Dataflow job."
  type        = string
}

variable "spool_gb" {
  description = "Size of a collector's spool in GB, for the alert's text."
  type        = number
}

variable "mail" {
  description = "Addresses that alerts go to."
  type        = set(string)
  validation {
    condition     = length(var.mail) > 0 && alltrue([for address in var.mail : can(regex("^\\S+@\\S+\\.\\S+$", address))])
    error_message = "mail: expected at least one address as data@example.com: an alert that nobody reads is none."
  }
}

variable "scanned_tb_a_day" {
  description = "Terabytes that queries may bill in a day before somebody is told."
  type        = number
  validation {
    condition     = var.scanned_tb_a_day > 0
    error_message = "scanned_tb_a_day: expected more than 0, was ${var.scanned_tb_a_day}."
  }
}

variable "billing_account" {
  description = "Billing account of the budget, as 012345-6789AB-CDEF01; null: no budget."
  type        = string
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
