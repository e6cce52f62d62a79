-- Which group type has which column of events, by project.
SELECT api_key AS project, group_type, min(group_type_index) AS group_type_index
FROM hogflare_groups
GROUP BY api_key, group_type
