{{ config(materialized='incremental', incremental_strategy='append') }}
select count(*) as orders, '{{ var("run") }}' as run from {{ ref('orders') }}
