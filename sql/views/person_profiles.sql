-- Persons as they are now: the newest version of each, without those that were merged into others.
SELECT
  api_key AS project,
  person_id,
  person_int_id,
  canonical_distinct_id,
  distinct_ids,
  distinct_id_count,
  created_at,
  updated_at,
  version,
  is_identified,
  merged_properties AS properties,
  properties AS properties_set,
  properties_set_once,
  merged_properties ->> 'email' AS email,
  team_id
FROM (
  SELECT
    *,
    row_number() OVER (PARTITION BY api_key, person_id ORDER BY version DESC, _position DESC) AS newest
  FROM hogflare_persons
) AS versions
WHERE newest = 1 AND NOT is_deleted
