SELECT 100 * sum(l_extendedprice * (1 - l_discount)) FILTER (p_type LIKE 'PROMO%')
       / sum(l_extendedprice * (1 - l_discount)) AS promo_revenue
FROM lineitem, part
WHERE l_partkey = p_partkey
      AND l_shipdate >= DATE '1995-09-01' AND l_shipdate < DATE '1995-10-01'
