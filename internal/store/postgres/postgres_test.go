package postgres

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/lti-operator/lti-operator/internal/store"
	"github.com/lti-operator/lti-operator/internal/store/postgres/pgtest"
	"github.com/lti-operator/lti-operator/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opener {
		address := pgtest.NewDatabase(t)
		return func(t *testing.T, now func() time.Time) store.Store {
			s, err := Open(t.Context(), address, now)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
