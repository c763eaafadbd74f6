# The tables' definitions are generated from the records; none of them is repeated here.
locals {
  schemas = "${path.module}/../../../market_data/schemas"
  tables = {
    for file in fileset(local.schemas, "*.json") :
    trimsuffix(file, ".json") => jsondecode(file("${local.schemas}/${file}"))
  }
}
