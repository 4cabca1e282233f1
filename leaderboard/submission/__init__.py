"""Brain-Score plugins: written from candidates, and checked as Brain-Score would check them."""
