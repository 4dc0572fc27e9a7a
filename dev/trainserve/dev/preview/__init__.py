"""Pictures of the dashboards, drawn from a development cluster that trains and serves (`make dashboards-preview`)."""
