-- Persons as they are now: the newest version of each, without those that were merged into others.
SELECT
  p.api_key AS project,
  p.person_id,
  p.person_int_id,
  p.canonical_distinct_id,
  p.distinct_ids,
  p.distinct_id_count,
  p.created_at,
  p.updated_at,
  p.version,
  p.is_identified,
  p.merged_properties AS properties,
  p.properties AS properties_set,
  p.properties_set_once,
  p.merged_properties ->> 'email' AS email,
  p.team_id
-- Which row it is comes from narrow columns, so that a long history is never held; so does whether it counts, which
-- keeps the planner from taking the wide side for the smaller one.
FROM (
  SELECT
    api_key,
    person_id,
    max(cast(1000000000000 + version AS varchar) || CASE WHEN is_deleted THEN '-' ELSE '+' END || uuid) AS row_mark
  FROM hogflare_persons
  GROUP BY api_key, person_id
) AS newest
INNER JOIN hogflare_persons AS p
  ON newest.api_key = p.api_key AND newest.person_id = p.person_id AND substr(newest.row_mark, 15) = p.uuid
WHERE substr(newest.row_mark, 14, 1) = '+'
