"""Data of the page Insights: detection delay, accuracy of forecasts, webhooks against polls."""
