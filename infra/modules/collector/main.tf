# One replica: a group of one machine that heals itself, with a disk that outlives it.
#
# A group of two could replace both at once (a regional group takes a zone's machines together), and
# its machines could not know their ids. Two groups are updated one after the other.

locals {
  region = substr(var.zone, 0, length(var.zone) - 2)
  port   = 8080
  environment = merge(var.settings, {
    COLLECTOR_HTTP_HOST       = "0.0.0.0"
    COLLECTOR_HTTP_PORT       = tostring(local.port)
    COLLECTOR_ID              = var.collector_id
    COLLECTOR_SPOOL_DIR       = "/spool"
    COLLECTOR_SPOOL_MAX_BYTES = tostring(floor(var.spool_gb * 0.8) * 1000000000)
    PUBSUB_PROJECT            = var.project
    PUBSUB_TOPIC              = var.topic
  })
}

resource "google_compute_address" "this" {
  project      = var.project
  name         = var.collector_id
  region       = local.region
  address_type = "INTERNAL"
  subnetwork   = var.subnetwork
}

resource "google_compute_instance_template" "this" {
  project      = var.project
  name_prefix  = "${var.collector_id}-"
  region       = local.region
  machine_type = var.machine_type
  metadata = {
    google-logging-enabled = "true"
    block-project-ssh-keys = "true"
    enable-oslogin         = "true"
    user-data = templatefile("${path.module}/cloud-init.yaml.tftpl", {
      environment = local.environment
      image       = var.image
      port        = local.port
      registry    = split("/", var.image)[0]
    })
  }
  disk {
    source_image = "cos-cloud/cos-stable"
    boot         = true
    auto_delete  = true
    disk_size_gb = 20
  }
  disk {
    device_name  = "spool"
    disk_type    = "pd-balanced"
    disk_size_gb = var.spool_gb
    auto_delete  = false
  }
  network_interface {
    subnetwork = var.subnetwork
    network_ip = google_compute_address.this.address
  }
  service_account {
    email  = var.service_account
    scopes = ["cloud-platform"]
  }
  shielded_instance_config {
    enable_secure_boot          = true
    enable_vtpm                 = true
    enable_integrity_monitoring = true
  }
  lifecycle {
    create_before_destroy = true
  }
}

# /healthz is 503 too while the exchange is away or the disk is full, which no new machine mends:
# ten minutes of it are waited for, then a fresh start is worth its hole.
resource "google_compute_health_check" "this" {
  project             = var.project
  name                = var.collector_id
  check_interval_sec  = 60
  timeout_sec         = 10
  healthy_threshold   = 1
  unhealthy_threshold = 10
  http_health_check {
    port         = local.port
    request_path = "/healthz"
  }
  log_config {
    enable = true
  }
}

resource "google_compute_instance_group_manager" "this" {
  project            = var.project
  name               = var.collector_id
  zone               = var.zone
  base_instance_name = var.collector_id
  target_size        = 1
  version {
    instance_template = google_compute_instance_template.this.id
  }
  # The ledger and what Pub/Sub has not taken yet.
  stateful_disk {
    device_name = "spool"
    delete_rule = "NEVER"
  }
  auto_healing_policies {
    health_check      = google_compute_health_check.this.id
    initial_delay_sec = 600
  }
  # Disk and address belong to one machine at a time: the old one goes before the new one comes.
  update_policy {
    type                  = "PROACTIVE"
    minimal_action        = "REPLACE"
    replacement_method    = "RECREATE"
    max_surge_fixed       = 0
    max_unavailable_fixed = 1
  }
  # The other replica is touched when this one runs the new version.
  wait_for_instances        = true
  wait_for_instances_status = "UPDATED"
}
