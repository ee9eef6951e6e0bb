"""Event-time windows: watermark, panes with running totals, mergeable quantiles. Pure."""
