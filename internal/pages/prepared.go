package pages

import (
	"maps"
	"net/http"
)

// Prepared is a page that was rendered before anybody asked for it, and is the same
// for all who do.
type Prepared struct{ rendered *recorded }

// Prepare renders the page.
func (e Error) Prepare(v View) (Prepared, error) {
	r := &recorded{header: http.Header{}}
	if err := e.Write(r, v); err != nil {
		return Prepared{}, err
	}
	return Prepared{r}, nil
}

// Answer answers with the page. A failed write means that the client has gone.
func (p Prepared) Answer(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.rendered.header)
	w.WriteHeader(p.rendered.status)
	_, _ = w.Write(p.rendered.body)
}

// recorded is an answer that is kept.
type recorded struct {
	header http.Header
	status int
	body   []byte
}

// Header implements http.ResponseWriter.
func (r *recorded) Header() http.Header { return r.header }

// WriteHeader implements http.ResponseWriter.
func (r *recorded) WriteHeader(status int) { r.status = status }

// Write implements http.ResponseWriter.
func (r *recorded) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}
