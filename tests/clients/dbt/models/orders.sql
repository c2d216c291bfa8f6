{{ config(materialized='table') }}
select id, code, id * 10 as amount from (select explode(sequence(1, {{ var('rows', 4) }})) as id)
cross join {{ ref('countries') }}
