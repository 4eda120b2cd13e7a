"""What happens before and after the search: calibration, the finalists, the export."""
