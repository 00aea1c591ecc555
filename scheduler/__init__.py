"""Who may run where and when: resources, and the queue of leases and tasks. Pure, sans-IO."""
