# What everything stands on and nothing else replaces: services, network, registry, accounts.

locals {
  services = [
    "artifactregistry", "bigquery", "bigquerystorage", "billingbudgets", "cloudresourcemanager",
    "composer", "compute", "dataflow", "iam", "iamcredentials", "logging", "monitoring", "pubsub",
    "secretmanager", "storage", "sts",
  ]

  accounts = {
    collector  = "Collector: publishes frames"
    stream-job = "Dataflow workers: frames to archive and tables"
    market-ops = "Composer: DAGs, dbt, repairs"
    planner    = "GitHub: terraform plan, reads only"
    deployer   = "GitHub: images, the job, DAGs"
  }

  # Rights that exist for a whole project only; all others are given at the resource itself.
  project_roles = {
    collector  = ["logging.logWriter", "monitoring.metricWriter"]
    stream-job = ["dataflow.worker", "bigquery.jobUser"]
    market-ops = [
      "composer.worker", "bigquery.jobUser", "dataflow.developer", "monitoring.viewer",
    ]
    planner = [
      "artifactregistry.reader", "bigquery.metadataViewer", "browser", "composer.user",
      "compute.viewer", "dataflow.viewer", "iam.roleViewer", "iam.securityReviewer",
      "iam.serviceAccountViewer", "iam.workloadIdentityPoolViewer", "logging.viewer",
      "monitoring.viewer", "pubsub.viewer", "secretmanager.viewer",
      "serviceusage.serviceUsageViewer", "storage.bucketViewer",
    ]
    deployer = ["composer.user", "dataflow.developer"]
  }
  project_bindings = merge([
    for account, roles in local.project_roles : {
      for role in roles : "${account} ${role}" => { account = account, role = "roles/${role}" }
    }
  ]...)
}

resource "google_project_service" "all" {
  for_each           = toset(local.services)
  project            = var.project
  service            = "${each.value}.googleapis.com"
  disable_on_destroy = false
}

resource "google_service_account" "all" {
  for_each     = local.accounts
  project      = var.project
  account_id   = each.key
  display_name = each.value
  depends_on   = [google_project_service.all]
}

resource "google_project_iam_member" "all" {
  for_each = local.project_bindings
  project  = var.project
  role     = each.value.role
  member   = google_service_account.all[each.value.account].member
}

# Terraform makes the tables: the job may add rows and read them, and neither make nor drop any.
resource "google_project_iam_custom_role" "table_appender" {
  project     = var.project
  role_id     = "tableAppender"
  title       = "Append to tables"
  description = "Append rows, read them, read schemas; no right to make, change or drop a table."
  permissions = [
    "bigquery.datasets.get",
    "bigquery.tables.get",
    "bigquery.tables.getData",
    "bigquery.tables.list",
    "bigquery.tables.updateData",
  ]
  depends_on = [google_project_service.all]
}

# Before a version takes over, what the job has read is kept, and after a failure read again. A
# snapshot that is not yet made is nothing that a right could be given at.
resource "google_project_iam_custom_role" "snapshot_keeper" {
  project     = var.project
  role_id     = "snapshotKeeper"
  title       = "Keep snapshots"
  description = "Make snapshots of subscriptions, list them, go back to one; delete none."
  permissions = [
    "pubsub.snapshots.create",
    "pubsub.snapshots.get",
    "pubsub.snapshots.list",
    "pubsub.snapshots.seek",
  ]
  depends_on = [google_project_service.all]
}

resource "google_project_iam_member" "snapshot_keeper" {
  project = var.project
  role    = google_project_iam_custom_role.snapshot_keeper.name
  member  = google_service_account.all["deployer"].member
}

# --- network: no machine has an address of its own on the internet

resource "google_compute_network" "platform" {
  project                 = var.project
  name                    = "market-data"
  auto_create_subnetworks = false
  depends_on              = [google_project_service.all]
}

resource "google_compute_subnetwork" "platform" {
  project                  = var.project
  name                     = "market-data"
  region                   = var.region
  network                  = google_compute_network.platform.id
  ip_cidr_range            = var.subnet_range
  private_ip_google_access = true
}

resource "google_compute_router" "platform" {
  project = var.project
  name    = "market-data"
  region  = var.region
  network = google_compute_network.platform.id
}

# Binance counts requests by address: fixed ones, so that a ban can be told from another's.
resource "google_compute_address" "nat" {
  count   = 2
  project = var.project
  name    = "market-data-nat-${count.index + 1}"
  region  = var.region
}

resource "google_compute_router_nat" "platform" {
  project                            = var.project
  name                               = "market-data"
  region                             = var.region
  router                             = google_compute_router.platform.name
  nat_ip_allocate_option             = "MANUAL_ONLY"
  nat_ips                            = google_compute_address.nat[*].self_link
  source_subnetwork_ip_ranges_to_nat = "ALL_SUBNETWORKS_ALL_IP_RANGES"
  log_config {
    enable = true
    filter = "ERRORS_ONLY"
  }
}

# Google's health checkers, and DAGs that ask the collectors how they are.
resource "google_compute_firewall" "collector" {
  project                 = var.project
  name                    = "collector-http"
  network                 = google_compute_network.platform.id
  direction               = "INGRESS"
  source_ranges           = ["35.191.0.0/16", "130.211.0.0/22", var.subnet_range]
  target_service_accounts = [google_service_account.all["collector"].email]
  allow {
    protocol = "tcp"
    ports    = ["8080"]
  }
}

# Dataflow workers talk to each other while they shuffle.
resource "google_compute_firewall" "dataflow" {
  project                 = var.project
  name                    = "dataflow-shuffle"
  network                 = google_compute_network.platform.id
  direction               = "INGRESS"
  source_service_accounts = [google_service_account.all["stream-job"].email]
  target_service_accounts = [google_service_account.all["stream-job"].email]
  allow {
    protocol = "tcp"
    ports    = ["12345-12346"]
  }
}

# --- images

resource "google_artifact_registry_repository" "images" {
  project       = var.project
  location      = var.region
  repository_id = "images"
  description   = "Images of collector and job; a tag is never moved."
  format        = "DOCKER"
  docker_config {
    immutable_tags = true
  }
  cleanup_policies {
    id     = "untagged"
    action = "DELETE"
    condition {
      tag_state  = "UNTAGGED"
      older_than = "2592000s"
    }
  }
  depends_on = [google_project_service.all]
}

resource "google_artifact_registry_repository_iam_member" "readers" {
  for_each   = toset(["collector", "stream-job"])
  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.all[each.value].member
}

resource "google_artifact_registry_repository_iam_member" "writer" {
  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = google_service_account.all["deployer"].member
}

# --- secrets: Terraform makes the place, people add the value, so that no state holds one

resource "google_secret_manager_secret" "all" {
  for_each  = var.secrets
  project   = var.project
  secret_id = each.value
  replication {
    user_managed {
      replicas {
        location = var.region
      }
    }
  }
  depends_on = [google_project_service.all]
}

resource "google_secret_manager_secret_iam_member" "market_ops" {
  for_each  = var.secrets
  project   = var.project
  secret_id = google_secret_manager_secret.all[each.value].secret_id
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.all["market-ops"].member
}

# --- who may act as whom

# Deployments and DAGs start jobs, and a job runs as its own account.
resource "google_service_account_iam_member" "starts_job" {
  for_each           = toset(["deployer", "market-ops"])
  service_account_id = google_service_account.all["stream-job"].name
  role               = "roles/iam.serviceAccountUser"
  member             = google_service_account.all[each.value].member
}

resource "google_iam_workload_identity_pool" "github" {
  count                     = var.repository == null ? 0 : 1
  project                   = var.project
  workload_identity_pool_id = "github"
  display_name              = "GitHub Actions"
  depends_on                = [google_project_service.all]
}

resource "google_iam_workload_identity_pool_provider" "github" {
  count                              = var.repository == null ? 0 : 1
  project                            = var.project
  workload_identity_pool_id          = google_iam_workload_identity_pool.github[0].workload_identity_pool_id
  workload_identity_pool_provider_id = "github"
  attribute_mapping = {
    "google.subject"       = "assertion.sub"
    "attribute.repository" = "assertion.repository"
  }
  attribute_condition = "assertion.repository == '${var.repository}'"
  oidc {
    issuer_uri = "https://token.actions.githubusercontent.com"
  }
}

# By subject, not by repository: a pull request may plan, only the environment may deploy.
resource "google_service_account_iam_member" "github" {
  for_each = var.repository == null ? {} : {
    planner  = "repo:${var.repository}:pull_request"
    deployer = "repo:${var.repository}:environment:${var.environment}"
  }
  service_account_id = google_service_account.all[each.key].name
  role               = "roles/iam.workloadIdentityUser"
  member             = "principal://iam.googleapis.com/${google_iam_workload_identity_pool.github[0].name}/subject/${each.value}"
}

resource "google_storage_bucket_iam_member" "state" {
  for_each = toset(["planner", "deployer"])
  bucket   = var.state_bucket
  role     = "roles/storage.objectViewer"
  member   = google_service_account.all[each.value].member
}
