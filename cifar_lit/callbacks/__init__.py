"""Lightning callbacks, one class a file. All act on a finished epoch, in `on_train_epoch_end`, where its metrics are known."""
