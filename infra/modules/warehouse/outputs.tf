output "tables" {
  description = "Tables of the checked-in schemas, as dataset.table."
  value       = sort(keys(google_bigquery_table.all))
}
