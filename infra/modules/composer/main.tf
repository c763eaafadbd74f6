# Airflow. Takes some 25 minutes to make, so nothing here changes with DAGs or images.

locals {
  # One list for the image of Composer, the tests and this.
  requirements = regexall("(?m)^([A-Za-z0-9._-]+)(\\[[^\\]]*\\])?(==\\S+)$", file("${path.module}/../../../dags/requirements.txt"))
  bucket       = regex("^gs://([^/]+)", google_composer_environment.this.config[0].dag_gcs_prefix)[0]
}

resource "google_composer_environment" "this" {
  project = var.project
  name    = var.name
  region  = var.region
  config {
    environment_size = "ENVIRONMENT_SIZE_${var.size}"
    software_config {
      image_version = var.image_version
      pypi_packages = { for each in local.requirements : each[0] => "${each[1] == null ? "" : each[1]}${each[2]}" }
      env_variables = {
        DBT_PROJECT_DIR = "/home/airflow/gcs/dags/dbt"
        DBT_TARGET      = "bigquery"
      }
      airflow_config_overrides = {
        "secrets-backend"        = "airflow.providers.google.cloud.secrets.secret_manager.CloudSecretManagerBackend"
        "secrets-backend_kwargs" = jsonencode({ connections_prefix = "airflow-connections", variables_prefix = null, config_prefix = null })
      }
    }
    node_config {
      network         = var.network
      subnetwork      = var.subnetwork
      service_account = var.service_account
    }
    workloads_config {
      worker {
        cpu        = 2
        memory_gb  = 8
        storage_gb = 10
        min_count  = 1
        max_count  = var.max_workers
      }
    }
    web_server_network_access_control {
      dynamic "allowed_ip_range" {
        for_each = var.web_ranges
        content {
          value       = allowed_ip_range.value
          description = allowed_ip_range.key
        }
      }
    }
  }
}

resource "google_storage_bucket_iam_member" "deployer" {
  for_each = toset(["roles/storage.objectUser", "roles/storage.bucketViewer"])
  bucket   = local.bucket
  role     = each.value
  member   = var.deployer
}
