-- A backend lists its tenant's orders and deletions, newest first, a page at a time: among many of other tenants without reading those.
create index orders_by_tenant on safelight.orders (tenant, id);
create index deletions_by_tenant on safelight.deletions (tenant, id);
