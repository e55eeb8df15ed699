/** What each metric means: the sentence that `/metrics` shows above it. */

export const metricHelp = {
  // What clients asked for
  hubcap_requests_total: "Requests of clients, by source host, what was asked for and how it was answered",
  hubcap_request_seconds: "Time until the last byte of an answer was handed to the client's connection",
  hubcap_served_bytes_total: "Bytes of manifests and blobs sent to clients",
  hubcap_stale_served_total: "Answers served although the upstream could not confirm them, by reason",
  hubcap_stale_age_seconds: "How long ago the upstream last confirmed what was served stale",
  hubcap_bypass_total:
    "Manifests and blobs that passed through without being stored, because the disk was full or failing",
  hubcap_policy_refused_total:
    "Requests that a rule refused: by name (denied), by tag (tag), or for the image's age, size, platform or signature; blobs of no allowed image (blob)",
  hubcap_immutable_tag_moves_total:
    "Immutable tags that were found to mean something else upstream than they did first",

  // What came from upstreams
  hubcap_upstream_requests_total:
    "Requests to upstreams, by kind and status; status is `error` when no answer came",
  hubcap_upstream_seconds: "Time until an upstream's answer began",
  hubcap_upstream_certificate_expiry_seconds:
    "When the first certificate ends that the upstream's registry and token service showed last, in seconds since the epoch",
  hubcap_fetched_bytes_total: "Bytes of manifests and blobs received from upstreams",
  hubcap_fills_running: "Blobs on their way in",
  hubcap_fill_failures_total:
    "Blobs that did not come in: the bytes were wrong (corrupt), did not arrive (broken) or were not taken by the disk",

  // What is held
  hubcap_cache_bytes: "Bytes of manifests and blobs that are held",
  hubcap_cache_capacity_bytes: "Bytes that may be held",
  hubcap_cache_blobs: "Blobs that are held, manifests among them",
  hubcap_cache_manifests: "Manifests that are held",
  hubcap_cache_evicted_bytes_total:
    "Bytes that were let go of: for room (capacity), by a rule (age, unused), named by no manifest (orphan), or on demand (removed)",
  hubcap_quarantined_total:
    "Blobs that were taken out of service: their bytes or their size were wrong, or they were unreadable",
  hubcap_scrubbed_bytes_total: "Bytes of held blobs that were read again to see that they have not rotted",
  hubcap_catalogs_replaced_total: "Catalogs that were set aside because they were damaged",
  hubcap_storage_degraded: "1 while nothing is stored because the disk is full or failing",

  // What may be spent
  hubcap_quota_limit: "Pulls that the upstream allows in its window",
  hubcap_quota_remaining: "Pulls that are left",
  hubcap_quota_reserve: "Pulls that only images that are not held may spend",
  hubcap_quota_empty_at_seconds:
    "When no pull will be left if the last hour goes on, in seconds since the epoch",
  hubcap_quota_saved_pulls_total: "Pulls that were served without asking the upstream",
  hubcap_quota_saved_bytes_total: "Bytes that were served without asking the upstream",
  hubcap_quota_state: "1 for the step of the ladder that the upstream's quota is on, 0 for the others",
  hubcap_quota_spent_total: "Pulls spent, by what they were spent for",
  hubcap_quota_refused_total: "Requests that were not sent to the upstream for want of quota",
  hubcap_quota_wait_seconds: "Time that requests to the upstream stood in line",
  hubcap_rehearsal: "1 for the outage of the upstream that an operator rehearses, 0 for the others",

  // What is fetched ahead
  hubcap_warm_images_total:
    "Images that were to be fetched ahead, by how that ended: held, failed, or left for want of quota",
  hubcap_warm_bytes_total: "Bytes of configs and layers that were fetched ahead",
  hubcap_warm_jobs: "Orders to fetch images ahead that have not ended, by state",
  hubcap_cluster_lists_total:
    "Attempts to list the images that the cluster's pods use, by result: ok or failed",

  // Listeners, limits, the audit log and alerts
  hubcap_certificate_expiry_seconds:
    "When the certificate that a listener serves ends, in seconds since the epoch",
  hubcap_certificate_refused:
    "1 while the files of a listener hold a certificate that cannot be served, so that an older one is",
  hubcap_tls_failures_total:
    "Connections that came to nothing before their first request, for want of TLS or of a client's certificate",
  hubcap_limited_total:
    "What a limit ended or refused: connections too many in all (connections) or from one address (address), readers that took nothing (stalled), blobs for one client (streams), and questions of a client that asks for too much that is not there (misses)",
  hubcap_worker_restarts_total: "Workers that ended unasked and were started anew",
  hubcap_audit_lost_lines_total: "Lines of the audit log that the disk did not take",
  hubcap_alert_messages_total:
    "Messages to alert webhooks: taken (sent), not taken after all tries (failed), or too many at once (dropped)",
} as const;
