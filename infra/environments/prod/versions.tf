terraform {
  required_version = ">= 1.9"
  # The bucket is made by hand and given to init: a bucket can't keep the state that makes it.
  backend "gcs" {
    prefix = "platform"
  }
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 6.50"
    }
  }
}

provider "google" {
  project = var.project
  region  = var.region
  # Budgets are counted against a project's quota.
  user_project_override = true
  billing_project       = var.project
}

provider "google-beta" {
  project = var.project
  region  = var.region
}
