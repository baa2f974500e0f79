package lnsim

// CloseFile closes the world's file, so that every later write of a change fails.
func (w *World) CloseFile() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.file.Close()
}
