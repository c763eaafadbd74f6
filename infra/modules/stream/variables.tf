variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "location" {
  description = "Location of the buckets: a region or a multi-region."
  type        = string
}

variable "topic" {
  description = "Id of the topic that frames are published to."
  type        = string
  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9._~%+-]{2,254}$", var.topic)) && !startswith(var.topic, "goog")
    error_message = "topic: expected an id of 3 to 255 characters that begins with a letter, was '${var.topic}'."
  }
}

variable "retention_days" {
  description = "How many days Pub/Sub keeps frames, acknowledged ones too; 1 to 7."
  type        = number
  validation {
    condition     = var.retention_days >= 1 && var.retention_days <= 7
    error_message = "retention_days: expected 1 to 7, was ${var.retention_days}: a subscription keeps 7 days at most."
  }
}

variable "archive_bucket" {
  description = "Name of the archive's bucket, unique in all of Google Cloud."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.archive_bucket)) && !can(regex("goog", var.archive_bucket))
    error_message = "archive_bucket: expected 3 to 63 lower-case letters, digits, '-', '_' and '.', was '${var.archive_bucket}'."
  }
}

variable "archive_cold_days" {
  description = "After so many days raw objects move to the class COLDLINE."
  type        = number
  validation {
    condition     = var.archive_cold_days >= 30
    error_message = "archive_cold_days: expected 30 or more, was ${var.archive_cold_days}: compaction and replays read what is younger."
  }
}

variable "is_protected" {
  description = "Whether buckets with objects can't be destroyed."
  type        = bool
}

variable "members" {
  description = "Service accounts as members of IAM bindings, by name."
  type        = map(string)
}
