{{ config(materialized='incremental', incremental_strategy='insert_overwrite', partition_by='code') }}
select sum(amount) as amount, code from {{ ref('orders') }} group by code
