"""Event-time windows: watermark, panes with running totals, mergeable quantiles. Pure: time comes with the data."""
