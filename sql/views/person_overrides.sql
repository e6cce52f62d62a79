-- Distinct ids whose events belong to another person than they are stamped with: one row each, the newest.
SELECT
  api_key AS project,
  distinct_id,
  substr(max(cast(1000000000000 + version AS varchar) || person_id), 14) AS person_id,
  max(version) AS version
FROM hogflare_person_overrides
GROUP BY api_key, distinct_id
