variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "location" {
  description = "Location of the datasets; can't be changed afterwards."
  type        = string
}

variable "is_protected" {
  description = "Whether tables and datasets with tables can't be destroyed."
  type        = bool
}

variable "table_appender" {
  description = "Role that may append to tables."
  type        = string
}

variable "members" {
  description = "Service accounts as members of IAM bindings, by name."
  type        = map(string)
}

variable "readers" {
  description = "Who may read the marts, as group:analysts@example.com."
  type        = set(string)
  validation {
    condition     = alltrue([for member in var.readers : can(regex("^(user|group|serviceAccount|domain):\\S+$", member))])
    error_message = "readers: expected members as group:analysts@example.com; the public is not among them."
  }
}
