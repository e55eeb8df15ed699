/** What each metric means: the text that `/metrics` shows above it. */

export const metricHelp = {
  // Requests of clients
  hubcap_requests_total: "Requests of clients, by source host, kind and outcome",
  hubcap_request_seconds: "Time until the last byte of a response was written to the client's connection",
  hubcap_served_bytes_total: "Bytes of manifests and blobs sent to clients",
  hubcap_stale_served_total: "Responses served although the upstream could not confirm them, by reason",
  hubcap_stale_age_seconds: "How long ago the upstream last confirmed what was served stale",
  hubcap_bypass_total:
    "Manifests and blobs that were passed through without being stored, because the disk was full or failing, nothing could be evicted for them (capacity), or blobs that no manifest names (unnamed) or one client's downloads (client) have their share",
  hubcap_policy_refused_total:
    "Requests that a rule refused: by name (denied), by tag (tag), or for the image's age, size, platform or signature; blobs of no allowed image (blob)",
  hubcap_immutable_tag_moves_total: "Immutable tags that mean another digest upstream than at first",

  // Upstreams
  hubcap_upstream_requests_total:
    "Requests to upstreams, by kind and status; status is `error` when there was no response",
  hubcap_upstream_seconds: "Time until the headers of an upstream's response",
  hubcap_upstream_certificate_expiry_seconds:
    "When the first of the certificates of the upstream's registry and token service expires, as seen last, in seconds since the epoch",
  hubcap_fetched_bytes_total: "Bytes of manifests and blobs received from upstreams",
  hubcap_fills_running: "Blobs that are being downloaded",
  hubcap_fill_failures_total:
    "Failed downloads of blobs: the bytes were wrong (corrupt), did not arrive (broken), could not be written (disk), found nothing more that could be evicted for them (capacity), or were wanted by no client and no manifest (abandoned)",

  // The store
  hubcap_cache_bytes: "Bytes of manifests and blobs that are held",
  hubcap_cache_capacity_bytes: "Bytes that may be held",
  hubcap_cache_blobs: "Blobs that are held, manifests among them",
  hubcap_cache_manifests: "Manifests that are held",
  hubcap_database_bytes: "Bytes in use of the databases; the catalog's count in the capacity",
  hubcap_database_rows_forgotten_total:
    "Rows that were forgotten because they were too old or too many, though nothing about them was wrong",
  hubcap_cache_evicted_bytes_total:
    "Bytes that were evicted: for space (capacity), by a rule (age, unused), named by no manifest (orphan), or on demand (removed)",
  hubcap_quarantined_total:
    "Blobs that were quarantined: their bytes or their size were wrong, or they were unreadable",
  hubcap_scrubbed_bytes_total: "Bytes of held blobs that the scrub has read",
  hubcap_catalogs_replaced_total: "Catalogs that were set aside because they were damaged",
  hubcap_states_replaced_total:
    "States that were damaged or lost, and restored from their backup or made anew",
  hubcap_storage_degraded: "1 while nothing is stored because the disk is full or failing",

  // Quota
  hubcap_quota_limit: "Pulls that the upstream allows in its window",
  hubcap_quota_remaining: "Pulls that are left",
  hubcap_quota_reserve: "Pulls that only images that are not held may spend",
  hubcap_quota_empty_at_seconds:
    "When no pull will be left at the rate of the last hour, in seconds since the epoch",
  hubcap_quota_saved_pulls_total: "Pulls that were served without a request upstream",
  hubcap_quota_saved_bytes_total: "Bytes that were served without a request upstream",
  hubcap_quota_state: "1 for the state of the upstream's bucket, 0 for the others",
  hubcap_quota_spent_total: "Pulls spent, by reason",
  hubcap_quota_refused_total: "Requests that were not sent to the upstream because no quota was left",
  hubcap_quota_wait_seconds: "Time that requests to the upstream were queued",
  hubcap_rehearsal: "1 for the outage of the upstream that is rehearsed, 0 for the others",

  // Warming
  hubcap_warm_images_total:
    "Images that were to be fetched ahead, by result: held, failed, or left because no quota was left",
  hubcap_warm_bytes_total: "Bytes of configs and layers that were fetched ahead",
  hubcap_warm_jobs: "Warm jobs that have not ended, by state",
  hubcap_cluster_lists_total:
    "Attempts to list the images that the cluster's pods use, by result: ok or failed",

  // Listeners, limits, the audit log and alerts
  hubcap_certificate_expiry_seconds: "When the certificate of a listener expires, in seconds since the epoch",
  hubcap_certificate_refused:
    "1 while the files of a listener hold a certificate that cannot be used, so that the old one still is",
  hubcap_tls_failures_total:
    "Failed TLS handshakes: clients without TLS, or without a valid client certificate",
  hubcap_limited_total:
    "What a limit closed or refused: connections in all (connections) or from one address (address), ones with too many requests at once (pipelined), clients that read nothing (stalled), bodies for an address that has much to read already (unread), blobs for one client (streams), and requests of a client that caused too many misses (misses)",
  hubcap_worker_restarts_total: "Workers that ended unexpectedly and were restarted",
  hubcap_audit_lost_lines_total: "Lines of the audit log that could not be written",
  hubcap_alert_messages_total:
    "Messages to alert webhooks: accepted (sent), not accepted after all tries (failed), or too many at once (dropped)",
} as const;
