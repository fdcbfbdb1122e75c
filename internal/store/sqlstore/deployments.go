package sqlstore

import (
	"context"
	"database/sql"

	"github.com/lti-operator/lti-operator/internal/store"
)

const (
	// A replica whose clock is behind does not move a deployment back.
	noteDeployment = `
		INSERT INTO unknown_deployments (platform, deployment_id, first_seen_at, last_seen_at)
		VALUES (?1, ?2, ?3, ?3)
		ON CONFLICT (platform, deployment_id) DO UPDATE SET last_seen_at = CASE
			WHEN excluded.last_seen_at > unknown_deployments.last_seen_at THEN excluded.last_seen_at
			ELSE unknown_deployments.last_seen_at END`

	// The deployment that was just noted stays in any case, however the clocks of
	// the replicas differ. The limit is none: SQLite has no OFFSET without one.
	trimDeployments = `
		DELETE FROM unknown_deployments WHERE platform = ?1 AND deployment_id IN (
			SELECT deployment_id FROM unknown_deployments WHERE platform = ?1 AND deployment_id <> ?2
			ORDER BY last_seen_at DESC, deployment_id LIMIT 1000000 OFFSET ?3)`

	listDeployments = `
		SELECT platform, deployment_id, first_seen_at, last_seen_at FROM unknown_deployments
		ORDER BY platform, last_seen_at DESC, deployment_id`
)

// NoteUnknownDeployment implements store.Store.
func (s *Store) NoteUnknownDeployment(ctx context.Context, platform, deploymentID string) error {
	d := store.UnknownDeployment{Platform: platform, DeploymentID: deploymentID}
	if err := d.Validate(); err != nil {
		return err
	}
	return s.inTx(ctx, "note deployment", func(ctx context.Context, tx *sql.Tx) error {
		// Two at once would each count without the other.
		if err := s.lock(ctx, tx, "deployments\x00"+platform); err != nil {
			return err
		}
		if _, err := tx.StmtContext(ctx, s.noteDeployment).
			ExecContext(ctx, platform, deploymentID, micros(s.now())); err != nil {
			return err
		}
		_, err := tx.StmtContext(ctx, s.trimDeployments).
			ExecContext(ctx, platform, deploymentID, store.MaxUnknownDeployments-1)
		return err
	})
}

// UnknownDeployments implements store.Store.
func (s *Store) UnknownDeployments(ctx context.Context) ([]store.UnknownDeployment, error) {
	var deployments []store.UnknownDeployment
	err := s.read(ctx, "list deployments", func(ctx context.Context) error {
		rows, err := s.listDeployments.QueryContext(ctx)
		deployments, err = collect(rows, err, scanDeployment)
		return err
	})
	if err != nil {
		return nil, err
	}
	return deployments, nil
}

func scanDeployment(r Row) (store.UnknownDeployment, error) {
	var (
		d           store.UnknownDeployment
		first, last int64
	)
	err := r.Scan(&d.Platform, &d.DeploymentID, &first, &last)
	d.FirstSeenAt, d.LastSeenAt = fromMicros(first), fromMicros(last)
	return d, err
}
