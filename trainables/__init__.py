"""How one GAN is fine-tuned. Nothing here but ``worker.py`` knows Ray: `trainables.gan.GanTrainer` works in a notebook."""
